"""What an extension is written against: data shapes and protocols, no behaviour that touches network or disk."""
