"""An engine that a gateway can launch in milliseconds, and the plugin that knows how; for tests of what starts engines."""
