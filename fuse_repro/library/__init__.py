"""What a program of the user's own calls, with models that are in memory already; see docs/library.md."""

from fuse_repro.library.captions import Caption, caption
from fuse_repro.library.moving import MovedPrompt, move_prompt
from fuse_repro.library.packaged import load_model

__all__ = ["Caption", "MovedPrompt", "caption", "load_model", "move_prompt"]
