/** The limits of a task: how they are enforced here, and what has come of that. */
import { errorMessage } from "../errors.ts";
import { log } from "../log.ts";
import type { TaskDefinition } from "../workflow/model.ts";
import { formatSize } from "../workflow/size.ts";
import type { Cgroups, TaskGroup } from "./cgroups.ts";
import { CannotStartError } from "./executors/index.ts";

type Limits = NonNullable<TaskDefinition["limits"]>;

/** What a process does to itself before it becomes the task. Plain JSON. */
export interface Confinement {
  /** Enters this control group. */
  readonly group?: string | undefined;
  /** Limits its private memory, and that of each process that it starts, bytes. */
  readonly data?: number | undefined;
}

/** How long a period is in which the group gets its time on processors, µs. */
const PERIOD_US = 100_000;

/** The limits of one try of a task. */
export class TaskLimits {
  /** What is enforced and how, for the log. */
  readonly remark: string;
  readonly confinement: Confinement;
  readonly #memory: string | undefined;
  readonly #group: TaskGroup | undefined;
  /** Why memory is not limited by a group. */
  readonly #lack: string;

  /** @param name of the try, unique */
  constructor(limits: Limits, name: string, cgroups: Cgroups) {
    const { memory_bytes: memory, cpu, pids } = limits;
    this.#memory = memory === undefined ? undefined : formatSize(memory);
    const wanted = [
      ...(memory === undefined
        ? []
        : [
            {
              what: `memory ${formatSize(memory)}`,
              controller: "memory" as const,
              file: "memory.max",
              value: String(memory),
            },
          ]),
      ...(cpu === undefined
        ? []
        : [
            {
              what: `cpu ${cpu}`,
              controller: "cpu" as const,
              file: "cpu.max",
              value: `${Math.round(cpu * PERIOD_US)} ${PERIOD_US}`,
            },
          ]),
      ...(pids === undefined
        ? []
        : [{ what: `pids ${pids}`, controller: "pids" as const, file: "pids.max", value: String(pids) }]),
    ].map((each) => ({ ...each, lack: cgroups.lack(each.controller) }));
    const able = wanted.filter(({ lack }) => lack === undefined);
    let failure: string | undefined;
    try {
      // No way around the limit by swapping, and no half of a task that lives on.
      const more: Record<string, string> = able.some(({ controller }) => controller === "memory")
        ? { "memory.swap.max": "0", "memory.oom.group": "1" }
        : {};
      if (able.length > 0)
        this.#group = cgroups.make(
          name,
          Object.fromEntries(able.map(({ file, value }) => [file, value])),
          more,
        );
    } catch (error) {
      failure = `its cgroup cannot be made: ${errorMessage(error)}`;
      log.warn(`The limits of a task are not enforced by a cgroup: ${errorMessage(error)}.`);
    }
    const byGroup = this.#group === undefined ? [] : able.map(({ what }) => `${what} by cgroup`);
    const others = this.#group === undefined ? wanted : wanted.filter(({ lack }) => lack !== undefined);
    const memoryByProcess = others.find(({ controller }) => controller === "memory");
    const hasData = memoryByProcess !== undefined;
    this.#lack = failure ?? memoryByProcess?.lack ?? "";
    const byProcess = hasData ? [`memory ${this.#memory} by RLIMIT_DATA, for each process`] : [];
    const not = others.filter(({ controller }) => controller !== "memory");
    const reason = failure ?? not[0]?.lack ?? "";
    const impossible =
      not.length === 0
        ? []
        : [`${not.map(({ what }) => what).join(" and ")} cannot be limited here: ${reason}`];
    this.remark = `limits: ${[[...byGroup, ...byProcess].join(", "), ...impossible].filter(Boolean).join("; ")}.`;
    this.confinement = { group: this.#group?.path, data: hasData ? memory : undefined };
  }

  /**
   * Refuses a limit for each process under which the runtime of the task does not even start.
   * @param bytes the least that it needs
   * @throws CannotStartError
   */
  checkLeast(bytes: number, kind: string): void {
    const { data = Number.POSITIVE_INFINITY } = this.confinement;
    if (data >= bytes) return;
    throw new CannotStartError(
      `Cannot start: ${kind} needs limits.memory of at least ${formatSize(bytes)} here, not ${formatSize(data)}, because ${this.#lack}.`,
      { hint: "Raise the limit. With a cgroup only the memory counts that is really used." },
    );
  }

  /**
   * The try is over.
   * @param endsRest whether what is left of it is killed
   */
  close(endsRest: boolean): { readonly exceeded: string | undefined; readonly peakKb: number | null } {
    const group = this.#group;
    if (group === undefined) return { exceeded: undefined, peakKb: null };
    const exceeded = group.isOutOfMemory ? `exceeded its memory limit of ${this.#memory}` : undefined;
    const { peakKb } = group;
    group.close(endsRest);
    return { exceeded, peakKb };
  }
}
