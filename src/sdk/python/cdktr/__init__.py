"""Client and event listeners for cdktr, the workflow orchestrator."""

from .listener import EventListener
from .log_tail import LogLine, LogTail
from .principal import Principal
from .result import CdktrError, Result

__all__ = ["CdktrError", "EventListener", "LogLine", "LogTail", "Principal", "Result"]
__version__ = "0.1.0"
