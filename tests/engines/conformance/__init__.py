"""The conformance cases, put to every real engine that is installed here."""
