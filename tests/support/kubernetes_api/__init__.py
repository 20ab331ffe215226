"""An API server on 127.0.0.1 that knows EndpointSlices alone, in the wire shape of discovery.k8s.io/v1, as a test scripts it."""
