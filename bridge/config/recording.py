"""Recording of calls: where the files go, and how much of the disk they may take."""

from __future__ import annotations

from pydantic import Field

from .folder import WritableFolder
from .section import Section


class Recording(Section):
    """Calls of the agents with `record: true`, kept as stereo WAV files."""

    folder: WritableFolder | None = None
    """Default: nothing is recorded, whatever the agents say."""
    max_minutes: float = Field(default=60, gt=0, le=1440)
    """The longest recording; the call goes on without."""
    max_megabytes: int = Field(default=200, ge=1, le=4000)
    """The largest file, in 10^6 bytes: G.711 takes 1.92 a minute."""
    min_free_megabytes: int = Field(default=500, ge=0)
    """With less free space than this no recording begins, and those that run end."""
