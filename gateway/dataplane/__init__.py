"""A call's way, stage by stage: admission, placement, forwarder, relay, recording; `serving` puts them in order."""
