"""The chaos suite: a gateway under load while engines, connections and the network break."""
