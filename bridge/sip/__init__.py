"""SIP: messages, transactions, dialogs, session descriptions and a user agent over UDP (RFC 3261)."""

from .address import Address
from .errors import SipError
from .invitation import Invitation
from .message import Request, Response
from .offer_answer import Negotiated, accept, answer, continued, offer
from .outgoing import OutgoingCall
from .sdp import SessionDescription
from .session import Session, SessionState
from .stats import SipStats
from .transaction import Timers
from .ua import ListenAddress, UserAgent
from .uri import Uri

__all__ = [
    "Address",
    "Invitation",
    "ListenAddress",
    "Negotiated",
    "OutgoingCall",
    "Request",
    "Response",
    "Session",
    "SessionDescription",
    "SessionState",
    "SipError",
    "SipStats",
    "Timers",
    "Uri",
    "UserAgent",
    "accept",
    "answer",
    "continued",
    "offer",
]
