"""EndpointSlices as Kubernetes 1.31 writes them, with all the fields that a reader must be able to ignore."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]


def endpoint(address: str, pod: str = "", **conditions: bool | None) -> Json:
    """One endpoint; ready unless its conditions say otherwise, None for a condition that is not said."""
    said: Json = {"ready": True, "serving": True, "terminating": False, **conditions}
    found: Json = {
        "addresses": [address],
        "conditions": {name: value for name, value in said.items() if value is not None},
        "nodeName": "node-1",
        "zone": "zone-a",
        "hints": {"forZones": [{"name": "zone-b"}]},
    }
    if pod:
        found["targetRef"] = {"kind": "Pod", "namespace": "ml", "name": pod, "uid": f"uid-of-{pod}"}
    return found


def endpoint_slice(name: str, *endpoints: Json, service: str = "vllm", **changes: Any) -> Json:
    """One slice of a service."""
    return {
        "metadata": {
            "name": name,
            "generateName": f"{service}-",
            "namespace": "ml",
            "uid": f"uid-of-{name}",
            "generation": 1,
            "creationTimestamp": "2026-05-04T09:30:00Z",
            "labels": {
                "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
                "kubernetes.io/service-name": service,
            },
            "ownerReferences": [{"apiVersion": "v1", "kind": "Service", "name": service, "controller": True}],
        },
        "addressType": "IPv4",
        "endpoints": list(endpoints),
        "ports": [{"name": "http", "protocol": "TCP", "port": 8000}],
        **changes,
    }
