"""The ACKs of 2xx answers to our INVITEs: ours to send, and to send again (RFC 3261 section 13.2.2.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .dialog import Dialog
from .headers import Headers
from .layer import Path
from .message import Request, Response
from .part import Part

if TYPE_CHECKING:
    from .session import Session


class Acks(Part):
    """Sends them, the same one again for each repeat of a 2xx. Remembers those of the latest INVITE."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._sent: dict[tuple[str, int], tuple[Request, Path]] = {}

    def send(self, dialog: Dialog, invite: Request, response: Response) -> None:
        """Acknowledge a 2xx to `invite` inside its dialog."""
        core, key = self._session.core, (dialog.remote_tag, response.cseq.number)
        sent = self._sent.get(key)
        if sent is not None and (sent[1].connected or not sent[1].transport.reliable):
            core.send(*sent)
            return

        def found(paths: list[Path]) -> None:
            if not paths:
                core.stats.transport_errors += 1
                return
            ack = self._made(dialog, invite, key[1], paths[0])
            self._sent = {other: kept for other, kept in self._sent.items() if other[1] == key[1]}
            self._sent[key] = ack, paths[0]
            core.send(ack, paths[0])

        flow = self._session.flow(dialog)
        if flow is not None:
            found([flow])
        else:
            core.locate(dialog.hop, self._session.path, found)

    def _made(self, dialog: Dialog, invite: Request, cseq: int, path: Path) -> Request:
        core = self._session.core
        ack = dialog.request("ACK", self._session.via_on(path), cseq, core.client_headers())
        # The same credentials as the INVITE: an ACK cannot be challenged (section 22.1).
        proof = [line for line in invite.lines if line.key in ("authorization", "proxy-authorization")]
        return Request(Headers((*ack.lines, *proof)), b"", "ACK", ack.uri)
