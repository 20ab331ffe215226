"""What identifies, watches, stores or exports; one file or folder a plugin."""
