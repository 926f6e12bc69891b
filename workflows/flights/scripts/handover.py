"""Where the tasks of one run leave files for each other."""

import os
import tempfile
from pathlib import Path

AIRPORTS = ("EWR", "JFK", "LGA")

#: True when the directory belongs to this run alone, so that the last task removes it.
TEMPORARY = not os.environ.get("CDKTR_PARAM_DATA_DIR")

LATE_MINUTES = int(os.environ.get("CDKTR_PARAM_LATE_MINUTES", "15"))


def directory() -> Path:
    """The directory, made when it is not there yet."""
    if TEMPORARY:
        path = Path(tempfile.gettempdir()) / f"cdktr-flights-{os.environ['CDKTR_WORKFLOW_INSTANCE_ID']}"
    else:
        path = Path(os.environ["CDKTR_PARAM_DATA_DIR"])
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def handed_over(name: str) -> Path:
    """A file that an earlier task left."""
    path = directory() / name
    if not path.exists():
        raise SystemExit(
            f"{path} is not there. The run that this one retries had its files in a directory of its own: "
            "retry with --from-start, or give data_dir at the trigger."
        )
    return path
