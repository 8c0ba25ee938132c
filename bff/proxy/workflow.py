"""The parts of the API proxy, put together."""

from collections.abc import Callable

from bff.bulkhead import BUSY_LONGEST, BUSY_TIMEOUT, Bulkhead
from bff.http import Upstream, Watcher
from bff.oidc.dpop import Dpop
from bff.proxy.forward import Forwarder, Service
from bff.proxy.headers import Origin, RequestHeaders
from bff.proxy.response_headers import ResponseHeaders
from bff.settings import Settings, UpstreamSettings
from bff.tokens.keeper import TokenKeeper

MakeUpstream = Callable[[UpstreamSettings, Watcher], Upstream]
"""What carries requests to one service; the watcher looks after the clients who wait."""


def forwarder(
    settings: Settings,
    make: MakeUpstream,
    watcher: Watcher,
    keeper: TokenKeeper,
    dpop: Dpop,
    clock: Callable[[], float],
) -> Forwarder:
    origin = Origin.of(settings.base_url)
    patience, longest = (BUSY_TIMEOUT, BUSY_LONGEST) if settings.greenlets else (0.0, 0.0)
    services = [
        Service(
            each,
            make(each, watcher),
            RequestHeaders(each.request_headers, origin),
            ResponseHeaders(each.response_headers),
            Bulkhead(each.service, each.max_concurrent or max(1, settings.concurrency // 2), patience, longest),
        )
        for each in settings.upstreams
    ]
    return Forwarder(services, keeper, dpop, clock)
