"""Where the tasks of one run leave files for each other."""

import os
import tempfile
from pathlib import Path


def directory() -> Path:
    path = Path(tempfile.gettempdir()) / f"cdktr-etl-{os.environ['CDKTR_WORKFLOW_INSTANCE_ID']}"
    path.mkdir(mode=0o700, exist_ok=True)
    return path
