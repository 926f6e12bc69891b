/**
 * The building blocks for declaring the keys of a workflow file. A field states once how its value is written in a file and how it is
 * stored; parsing, the stored form, types, defaults, the JSON Schema and the wording of diagnostics are derived from it. Values in a file
 * are those of yaml-tree.ts: every scalar is a string as written, so that `1.10` in `args` reaches the program as `1.10`.
 */
import { z } from "zod";
import type { DiagnosticCode } from "./diagnostic.ts";

/** What is wrong with a scalar or a name; `start` and `end` are offsets in its text. */
export interface Problem {
  readonly code: DiagnosticCode;
  readonly message: string;
  readonly help?: string | undefined;
  readonly start?: number;
  readonly end?: number;
}

/** Checks the names of one mapping, one after the other. */
export type NameCheck = (name: string) => Problem | null;

export type AnyField = Field<unknown, string | null>;
export type Keys = Readonly<Record<string, AnyField>>;

/** What diagnostics and the checks of names and tags need to know about a field. */
interface Traits {
  /** The noun for its value in "must be …"; by default its YAML type. */
  readonly noun?: string;
  /** What to write, for someone who omitted it or wrote a value of another type. */
  readonly help?: string;
  /** What it is when it is omitted or empty. */
  readonly absent?: { readonly value: unknown };
  /** How a default is written in a file. */
  readonly write?: (value: unknown) => unknown;
  /** The keys of a mapping. */
  readonly keys?: Keys;
  /** The entries of a list, or of a mapping with user-defined names. */
  readonly entry?: AnyField;
  /** The entries of a list, where a mapping has others. */
  readonly listEntry?: AnyField;
  readonly names?: () => NameCheck;
  /** Names may be expressions, too. */
  readonly hasNameTemplates?: boolean;
  /** The possible mappings, by tag. */
  readonly kinds?: Keys;
  /** A template may stand here, with a value of this type. */
  readonly template?: TemplateType;
  /** Where its expressions are evaluated, which decides on the names in scope; by default when the task starts. */
  readonly place?: Place;
  readonly isScalar?: boolean;
  /** Reads a value as if it were written without a template. */
  readonly reader?: z.ZodType;
  /** Only the stored form has it: files cannot set it. */
  readonly isDerived?: boolean;
}

/** The type that the value of a template must have. Lists and mappings become JSON where a string is wanted. */
export type TemplateType = "string" | "int" | "double" | "bool" | "duration" | "timestamp" | "list" | "any";

/**
 * Where expressions are evaluated. `env`: the env of the workflow. `decision`: before a task or its fan-out starts, as `when` and `foreach`.
 * `start`: when a try of the task starts, for each item of a fan-out. `item`: for each item, before it starts. `until`: after a try of a
 * poll. `response`: after the response to a request. `hook`: when a hook starts. `result`: when the run ends. `default`: when the run is triggered.
 * `placement`: when it is decided which agent gets a task, or an item. `group`: when a run is created. `row`: in an alert file, for each row
 * of the result of its query.
 */
export type Place =
  | "env"
  | "decision"
  | "start"
  | "item"
  | "until"
  | "response"
  | "hook"
  | "result"
  | "default"
  | "placement"
  | "group"
  | "row";

/** A text that contains an expression. */
const TEMPLATE = /\$\{\{/;

/** A template in place of a value that is not stored as text. The block that it is in keeps its text among its `templates`, by key. */
class Template {
  constructor(
    readonly text: string,
    /** What is stored in its place, unless the key has a default. */
    readonly meanwhile: unknown,
  ) {}
}

/** What a field is read as that fills several keys of the stored form of its block. */
export class Parts {
  constructor(readonly keys: Readonly<Record<string, unknown>>) {}
}

/** A value of a workflow file; `K` is its key in the stored form if that differs from the file's. */
export class Field<T, K extends string | null = null> {
  constructor(
    /** Parses the value from a file into the stored form. */
    readonly file: z.ZodType<T>,
    /**
     * Validates a value from the store or another process. Keys, words and kinds added by a newer version are accepted, and what an older
     * version did not write gets its default.
     */
    readonly stored: z.ZodType<T>,
    readonly traits: Traits = {},
    readonly storedKey: K = null as K,
  ) {}

  /** Sets its description in the JSON Schema. */
  describe(text: string): Field<T, K> {
    return new Field(this.file.describe(text), this.stored, this.traits, this.storedKey);
  }

  /** Sets what the JSON Schema says of it, where a file may have more than what its reader is given. */
  json(meta: z.GlobalMeta): Field<T, K> {
    return new Field(this.file.meta(meta), this.stored, this.traits, this.storedKey);
  }

  help(help: string): Field<T, K> {
    return new Field(this.file, this.stored, { ...this.traits, help }, this.storedKey);
  }

  /** Sets its key in the stored form. */
  as<N extends string>(storedKey: N): Field<T, N> {
    return new Field(this.file, this.stored, this.traits, storedKey);
  }

  /** Sets where its expressions are evaluated. */
  at(place: Place): Field<T, K> {
    return new Field(this.file, this.stored, { ...this.traits, place }, this.storedKey);
  }

  /** Optional: null when omitted or empty. */
  optional(): Field<T | null, K> {
    return this.#absent(null, this.stored.nullable().default(null));
  }

  /** Optional: absent from the stored form when omitted or empty. */
  sparse(): Field<T | undefined, K> {
    return this.#absent(undefined, this.stored.optional());
  }

  /** Optional: `fallback` when omitted or empty, without a default in the JSON Schema. */
  orElse(fallback: T): Field<T, K> {
    return this.#absent(fallback, z._default(this.stored, fallback as never) as z.ZodType<T>);
  }

  /** Optional: `fallback` when omitted or empty. */
  default(fallback: T): Field<T, K> {
    const { file, stored, traits } = this.orElse(fallback);
    const { write = (value) => value } = this.traits;
    return new Field<T, K>(file.meta({ default: write(fallback) }), stored, traits, this.storedKey);
  }

  /** Its block puts in the value: a schema that does would run for each of the many keys that a file omits. */
  #absent<A>(value: A, stored: z.ZodType<T | A>): Field<T | A, K> {
    const file = this.file.nullish() as z.ZodType<T | A>;
    return new Field(file, stored, { ...this.traits, absent: { value } }, this.storedKey);
  }

  /** The keys of a mapping that has this tag. */
  keys(tag: string | undefined): Keys {
    const { kinds = {}, keys = {} } = this.traits;
    return (tag !== undefined && Object.hasOwn(kinds, tag) ? kinds[tag]?.traits.keys : undefined) ?? keys;
  }

  /** The field at a key of a mapping that has this tag, or at an index of a list. */
  child(key: string | number, tag: string | undefined): AnyField | undefined {
    const keys = this.keys(tag);
    if (Object.hasOwn(keys, key)) return keys[key];
    const { entry, listEntry = entry } = this.traits;
    return typeof key === "number" ? listEntry : entry;
  }
}

/** The stored type of a field. */
export type ValueOf<F> = F extends Field<infer T, string | null> ? T : never;
type StoredKey<K extends Keys, N extends keyof K> = K[N]["storedKey"] extends string ? K[N]["storedKey"] : N;
type Sparse<K extends Keys> = { [N in keyof K]: undefined extends ValueOf<K[N]> ? N : never }[keyof K];
type ValuesOf<K extends Keys> = {
  -readonly [N in Exclude<keyof K, Sparse<K>> as StoredKey<K, N>]: ValueOf<K[N]>;
} & { -readonly [N in Sparse<K> as StoredKey<K, N>]?: ValueOf<K[N]> };
type Flat<T> = { [K in keyof T]: T[K] };

/** A mapping with exactly these keys. */
export class Block<K extends Keys> extends Field<Flat<ValuesOf<K>>> {
  readonly #stored: Record<string, z.ZodType>;

  constructor(keys: K, description?: string) {
    const all = Object.entries(keys).map(([key, field]) => ({
      key,
      to: field.storedKey ?? key,
      field,
      absent: field.traits.absent?.value,
    }));
    const stored = Object.fromEntries(all.map(({ to, field }) => [to, field.stored]));
    const written = all.filter(({ field }) => field.traits.isDerived !== true);
    const mapping = z.strictObject(Object.fromEntries(written.map(({ key, field }) => [key, field.file])));
    const file = (description === undefined ? mapping : mapping.describe(description)).transform((value) => {
      const stored: Record<string, unknown> = {};
      let templates: Record<string, string> | undefined;
      for (const { key, to, absent } of written) {
        const given = value[key] ?? absent;
        if (given instanceof Parts) Object.assign(stored, given.keys);
        else if (given instanceof Template) {
          templates = { ...templates, [key]: given.text };
          const meanwhile = absent === undefined ? given.meanwhile : absent;
          if (meanwhile !== undefined) stored[to] = meanwhile;
        } else if (given !== undefined) stored[to] = given;
      }
      if (templates !== undefined) stored.templates = templates;
      return stored as Flat<ValuesOf<K>>;
    });
    super(file, loose(stored), { keys: Object.fromEntries(written.map(({ key, field }) => [key, field])) });
    this.#stored = stored;
  }

  /** The stored form of something with an id: its name in a mapping, or the one derived from its file. */
  identified(): z.ZodType<Flat<{ id: string } & ValuesOf<K>>> {
    return loose({ id: z.string().regex(IDENTIFIER), ...this.#stored });
  }
}

/** The stored form of a mapping; unknown keys are kept. */
function loose<T>(keys: Record<string, z.ZodType>): z.ZodType<T> {
  return z.looseObject(keys) as unknown as z.ZodType<T>;
}

/** Ids of workflows (dotted path) and tasks: no white space, no control characters, safe in a log frame. */
export const IDENTIFIER = /^[A-Za-z0-9_][A-Za-z0-9_.-]*$/;

/** Names of environment variables, secrets and parameters. */
export const VARIABLE_NAME = /^[A-Za-z_][A-Za-z0-9_]*$/;

/** A mapping with user-defined names. The names are checked separately: zod would skip the value of an invalid one. */
export function named<T>(pattern: RegExp, names: () => NameCheck, entry: Field<T>): Field<Record<string, T>> {
  const file = z.record(z.string().meta({ pattern: pattern.source }), entry.file);
  return new Field(file, z.record(z.string(), entry.stored), { entry, names });
}

/** A list of at least `min` entries; with `unique`, duplicates are rejected. */
export function list<T>(entry: Field<T>, { min = 0, unique = false } = {}): Field<T[]> {
  const all = min === 0 ? z.array(entry.file) : z.array(entry.file).min(min);
  const file = unique ? all.transform((values) => [...new Set(values)]) : all;
  return new Field(file, z.array(entry.stored), { entry });
}

/**
 * A key that only the stored form has, and only if it is used: files cannot set it. What it says is derived from other keys, by
 * {@link Parts} or when the file is read.
 */
export function derived<T>(stored: z.ZodType<T>): Field<T | undefined> {
  const file = z.undefined() as unknown as z.ZodType<T | undefined>;
  return new Field(file, stored.optional(), { isDerived: true });
}

/** A key that only files have: what it says is stored under another one, or checked only. */
export function notStored<T>(field: Field<T>): Field<undefined> {
  const file = field.file.transform(() => new Parts({})) as unknown as z.ZodType<undefined>;
  return new Field(file, z.undefined(), field.traits).sparse();
}

/** The templates of a block, by key: those in place of values that are not stored as text. */
export const templates = () => derived(z.record(z.string(), z.string()));

/**
 * A field in whose place a template may stand. A template for text stays where it is. Any other is kept among the `templates` of the
 * block, and the default of the key, or else `meanwhile`, is stored in its place: an older reader finds a value that it can read.
 * @param type of the value of the template
 */
export function templated<T, K extends string | null>(
  field: Field<T, K>,
  type: TemplateType,
  meanwhile?: T,
): Field<T, K> {
  const traits = { ...field.traits, template: type, reader: field.file };
  // A text that takes anything takes a template as well: reading the many that there are costs nothing more.
  if (type === "string" && field.file.safeParse("${{ x }}").success)
    return new Field(field.file, field.stored, traits, field.storedKey);
  if (traits.isScalar === true)
    return new Field(templatedScalar(field.file, type, meanwhile), field.stored, traits, field.storedKey);
  const template = z
    .string()
    .regex(TEMPLATE)
    .transform((text) => new Template(text, meanwhile));
  const file = z.union([field.file, template]) as unknown as z.ZodType<T>;
  return new Field(file, field.stored, traits, field.storedKey);
}

/** A scalar that is read by `own` unless a template stands there: without a union, the messages about it stay its own. */
function templatedScalar<T>(own: z.ZodType<T>, type: TemplateType, meanwhile: T | undefined): z.ZodType<T> {
  const file = z.string().transform((text, ctx) => {
    if (TEMPLATE.test(text)) return type === "string" ? text : new Template(text, meanwhile);
    const result = own.safeParse(text);
    if (result.success) return result.data;
    ctx.issues.push(...(result.error.issues as unknown as typeof ctx.issues));
    return z.NEVER;
  }) as unknown as z.ZodType<T>;
  const {
    type: written = "string",
    anyOf,
    ...meta
  } = (z.globalRegistry.get(own) ?? {}) as {
    readonly type?: string | readonly string[];
    readonly anyOf?: readonly unknown[];
  };
  const forms = anyOf ?? [{ type: written, ...meta }];
  const types = [...new Set([written, "string"].flat())];
  return file.meta({
    type: types.length === 1 ? types[0] : types,
    anyOf: [...forms, { type: "string", pattern: TEMPLATE.source }],
  } as z.GlobalMeta);
}

/** A key whose value is always an expression, such as `when`; it is stored as its text. */
export function expression(type: TemplateType, place: Place): Field<string> {
  return scalar(
    z.string(),
    { pattern: "\\$\\{\\{" },
    (text, refuse) =>
      TEMPLATE.test(text)
        ? text.trim()
        : refuse("E014", "is not an expression", `write \${{ ${text.length > 60 ? "…" : text} }}`),
    { template: type, place },
  );
}

/** Reads a value as if it were written in a file, where a template is. */
export function readWith(
  { traits, file }: AnyField,
  text: string,
): { readonly ok: true; readonly value: unknown } | { readonly ok: false; readonly problem: Problem } {
  const result = (traits.reader ?? file).safeParse(text);
  if (result.success) return { ok: true, value: result.data };
  const [issue] = result.error.issues;
  const problem = issue?.code === "custom" ? (issue.params?.problem as Problem | undefined) : undefined;
  return { ok: false, problem: problem ?? { code: "E014", message: issue?.message ?? "does not fit" } };
}

/** The keys of a mapping in the stored form, by its kind if there are several; null if its names are those of users. */
export function keysOfStored({ traits }: AnyField, stored: { readonly type?: unknown }): Keys | null {
  const { kinds, keys = null } = traits;
  if (kinds === undefined) return keys;
  const { type } = stored;
  return typeof type === "string" && Object.hasOwn(kinds, type) ? (kinds[type]?.traits.keys ?? null) : null;
}

/**
 * One value or a list of at least one. The first is stored under `key`, as if it were the only one, and the others as a list under
 * `manyKey`, which the block has as {@link derived}.
 */
export function oneOrMany<T>(field: Field<T>, key: string, manyKey: string): Field<T> {
  const many = z
    .array(field.file)
    .min(1)
    .transform(([first, ...others]) =>
      others.length === 0 ? first : new Parts({ [key]: first, [manyKey]: others }),
    );
  const file = z.union([field.file, many]) as unknown as z.ZodType<T>;
  return new Field(file, field.stored, { ...field.traits, entry: field });
}

/** One of several words. */
export function oneOf<const W extends string>(...words: readonly W[]): Field<W> {
  return new Field<W>(z.enum(words), z.string() as unknown as z.ZodType<W>);
}

/** Fails the parsing of a scalar with a problem. */
type Refuse = (code: DiagnosticCode, message: string, help?: string, range?: Partial<Problem>) => never;

/** A scalar that `read` turns into a stored value; `json` describes it in the JSON Schema. */
export function scalar<T>(
  stored: z.ZodType<T>,
  json: z.GlobalMeta,
  read: (text: string, refuse: Refuse) => T,
  traits: Traits = {},
): Field<T> {
  const file = z.string().transform((text, ctx) =>
    read(text, (code, message, help, range) => {
      const problem: Problem = { ...range, code, message, help };
      ctx.addIssue({ code: "custom", message, params: { problem } });
      return z.NEVER;
    }),
  );
  return new Field(Object.keys(json).length === 0 ? file : file.meta(json), stored, {
    ...traits,
    isScalar: true,
  });
}
