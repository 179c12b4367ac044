"""``/metrics``: figures for Prometheus."""

from __future__ import annotations

from fastapi import APIRouter, HTTPException, Request
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.responses import Response

from petiole.api.access import principal_of

router = APIRouter(tags=["health"])


@router.get(
    "/metrics",
    operation_id="metrics",
    response_class=Response,
    responses={
        200: {
            "content": {"text/plain": {"schema": {"type": "string"}}},
            "description": "Prometheus' text format.",
        }
    },
)
def metrics(request: Request) -> Response:
    """Figures of runs, queues, workers and requests, of all graphs and namespaces together.

    Needs the scope `read`, not limited to graphs or namespaces; with the setting `metrics_public` it needs no key.
    """
    state, who = request.app.state, principal_of(request)
    if not state.client.settings.metrics_public:
        if not who.has("read"):
            raise HTTPException(403, f"this needs the scope 'read', and {who.name} has it not")
        if who.graphs or who.namespaces:
            raise HTTPException(
                403, f"figures are of all graphs and namespaces, and {who.name} is limited to some"
            )
    registry: CollectorRegistry = state.metrics
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)
