"""Look at raw files of a camera that is not known, and draft its instrument file.

`draft_instrument` surveys HDUs, sections and keywords; what it cannot find becomes a placeholder
(`cpflow.io.placeholders`). `describe` says what an instrument file describes.
"""

from cpflow.io.instrument_survey.draft import Draft, draft_instrument

__all__ = ["Draft", "draft_instrument"]
