"""The one import of audioop: the standard library's up to Python 3.12, audioop-lts from 3.13 on."""

import warnings

with warnings.catch_warnings():
    # 3.11 and 3.12 announce the removal that audioop-lts already answers.
    warnings.simplefilter("ignore", DeprecationWarning)
    import audioop as audioop

__all__ = ["audioop"]
