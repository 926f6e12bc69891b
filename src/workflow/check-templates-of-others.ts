/**
 * Warns of templates of other tools, such as `{{ ds }}` of Airflow: here they are text. Other text in double braces is left alone, because
 * programs have templates of their own: `docker ps --format "{{.Names}}"`.
 */
import type { Finding } from "./diagnostic.ts";
import type { Located } from "./yaml-tree.ts";

const DAY = '${{ date(run.scheduled_time, "%Y-%m-%d") }}';
const DAY_PLAIN = '${{ date(run.scheduled_time, "%Y%m%d") }}';
const TIME = "${{ run.scheduled_time }}";
const OUTPUT = "${{ tasks.ID.outputs.NAME }}";

/** What the first name in a template means, for names that nobody else uses. */
const NAMES: Readonly<Record<string, string>> = {
  ds: DAY,
  ds_nodash: DAY_PLAIN,
  ts: TIME,
  ts_nodash: TIME,
  execution_date: TIME,
  logical_date: TIME,
  data_interval_start: TIME,
  data_interval_end: TIME,
  prev_ds: '${{ date(run.scheduled_time - duration("24h"), "%Y-%m-%d") }}',
  yesterday_ds: '${{ date(run.scheduled_time - duration("24h"), "%Y-%m-%d") }}',
  next_ds: '${{ date(run.scheduled_time + duration("24h"), "%Y-%m-%d") }}',
  tomorrow_ds: '${{ date(run.scheduled_time + duration("24h"), "%Y-%m-%d") }}',
  dag_run: "${{ params.NAME }}",
  run_id: "${{ run.id }}",
  ti: OUTPUT,
  task_instance: OUTPUT,
  macros: DAY,
};

/** Templates with two names: of Argo, Kestra and others. */
const PAIRS: readonly (readonly [pattern: RegExp, meant: (name: string) => string])[] = [
  [/^(?:inputs|workflow)\.parameters\.(\w+)$/, (name) => `\${{ params.${name} }}`],
  [/^(?:steps|tasks|outputs)\.([\w-]+)\.(?:outputs|vars)\b/, (id) => `\${{ tasks.${id}.outputs.NAME }}`],
  [/^workflow\.(?:name|uid)$/, () => "${{ run.id }}"],
  [/^var\.(?:value|json)\.(\w+)$/, (name) => `\${{ params.${name} }}`],
  [/^conn\.(\w+)/, () => "secrets: [NAME] at the task"],
];

const TEMPLATE = /(?<!\$)\{\{-?\s*([A-Za-z_][\w.-]*)[^{}\n]{0,200}\}\}/g;

/** Finds them in the text of a file. */
export function checkTemplatesOfOthers(text: string, root: Located): Finding[] {
  if (!text.includes("{{")) return [];
  const params = root.children.get("params")?.node.children;
  return [...text.matchAll(TEMPLATE)].flatMap((match): Finding[] => {
    const [template, path = ""] = match;
    const meant = meaningOf(path, (name) => params?.has(name) === true);
    if (meant === undefined || isComment(text, match.index)) return [];
    return [
      {
        code: "W012",
        message: `${template} is text here: expressions are written \${{ … }}`,
        help: `write ${meant}${meant.startsWith("$") ? ", in a script under env: and then as a variable" : ""}`,
        start: match.index,
        end: match.index + template.length,
      },
    ];
  });
}

function meaningOf(path: string, isParam: (name: string) => boolean): string | undefined {
  const [first = "", second] = path.split(".");
  if (first === "params" && second !== undefined && isParam(second)) return `\${{ params.${second} }}`;
  if (Object.hasOwn(NAMES, first)) return NAMES[first];
  for (const [pattern, meant] of PAIRS) {
    const found = pattern.exec(path);
    if (found !== null) return meant(found[1] ?? "NAME");
  }
  return undefined;
}

/** Whether the line up to here begins a comment. */
function isComment(text: string, at: number): boolean {
  const line = text.slice(text.lastIndexOf("\n", at) + 1, at);
  return /^\s*#/.test(line);
}
