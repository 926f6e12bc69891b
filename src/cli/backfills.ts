import { group, lazy } from "./support/command.ts";

export default group(
  "List backfills, look at them, pause, resume and cancel them",
  {
    list: lazy("List backfills, newest first", () => import("./backfills/list.ts")),
    show: lazy("Show how far a backfill is", () => import("./backfills/show.ts")),
    pause: lazy("Make no further runs of a backfill for now", () => import("./backfills/pause.ts")),
    resume: lazy("Go on with a backfill that is paused", () => import("./backfills/resume.ts")),
    cancel: lazy("End a backfill, and cancel its runs", () => import("./backfills/cancel.ts")),
  },
  {
    details:
      "A BACKFILL is a backfill's id or any unambiguous prefix of it. 'cdktr backfill ID --from T' creates one.",
    topic: "backfill",
    see: ["backfill"],
  },
);
