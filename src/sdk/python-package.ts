/** The Python package embedded in the executable. */
import init from "./python/cdktr/__init__.py" with { type: "text" };
import buffer from "./python/cdktr/_buffer.py" with { type: "text" };
import connection from "./python/cdktr/_connection.py" with { type: "text" };
import delivery from "./python/cdktr/_delivery.py" with { type: "text" };
import fork from "./python/cdktr/_fork.py" with { type: "text" };
import limits from "./python/cdktr/_limits.py" with { type: "text" };
import members from "./python/cdktr/_members.py" with { type: "text" };
import values from "./python/cdktr/_values.py" with { type: "text" };
import watch from "./python/cdktr/_watch.py" with { type: "text" };
import listener from "./python/cdktr/listener.py" with { type: "text" };
import logTail from "./python/cdktr/log_tail.py" with { type: "text" };
import principal from "./python/cdktr/principal.py" with { type: "text" };
import result from "./python/cdktr/result.py" with { type: "text" };
import project from "./python/pyproject.toml" with { type: "text" };
import readme from "./python/README.md" with { type: "text" };

/** Its files: path to text. */
export const PYTHON_PACKAGE: Readonly<Record<string, string>> = {
  "README.md": readme,
  "pyproject.toml": project,
  "cdktr/__init__.py": init,
  "cdktr/_buffer.py": buffer,
  "cdktr/_connection.py": connection,
  "cdktr/_delivery.py": delivery,
  "cdktr/_fork.py": fork,
  "cdktr/_limits.py": limits,
  "cdktr/_members.py": members,
  "cdktr/_values.py": values,
  "cdktr/_watch.py": watch,
  "cdktr/listener.py": listener,
  "cdktr/log_tail.py": logTail,
  "cdktr/principal.py": principal,
  // An empty marker that tells type checkers that the package is typed.
  "cdktr/py.typed": "",
  "cdktr/result.py": result,
};
