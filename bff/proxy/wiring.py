"""Wiring of the API proxy."""

from collections.abc import Callable

from bff.bulkhead import BUSY_LONGEST, BUSY_TIMEOUT, Bulkhead
from bff.http import DisconnectMonitor, Upstream
from bff.oidc.dpop import Dpop
from bff.proxy.forward import Forwarder, UpstreamService
from bff.proxy.headers import BaseOrigin, RequestHeaders
from bff.proxy.response_headers import ResponseHeaders
from bff.settings import Settings, UpstreamSettings
from bff.tokens.service import TokenService

MakeUpstream = Callable[[UpstreamSettings, DisconnectMonitor], Upstream]
"""Builds the HTTP client of one service; the watcher notices waiting clients that disconnect."""


def build_forwarder(
    settings: Settings,
    make: MakeUpstream,
    disconnects: DisconnectMonitor,
    token_service: TokenService,
    dpop: Dpop,
    clock: Callable[[], float],
) -> Forwarder:
    origin = BaseOrigin.of(settings.base_url)
    patience, longest = (BUSY_TIMEOUT, BUSY_LONGEST) if settings.greenlets else (0.0, 0.0)
    services = [
        UpstreamService(
            each,
            make(each, disconnects),
            RequestHeaders(each.request_headers, origin),
            ResponseHeaders(each.response_headers),
            Bulkhead(each.service, each.max_concurrent or max(1, settings.concurrency // 2), patience, longest),
        )
        for each in settings.upstreams
    ]
    return Forwarder(services, token_service, dpop, clock)
