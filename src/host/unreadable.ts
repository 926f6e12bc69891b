/** Why something cannot be read, in words. */

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: "it does not exist",
  EACCES: "permission denied",
  EPERM: "permission denied",
  ELOOP: "its symbolic links form a loop",
  ENAMETOOLONG: "its name is too long",
  EIO: "the disk reports an error",
  ESTALE: "its file system was unmounted or replaced on the server",
};

/** An error of the file system, or what is known of one. */
interface Failure {
  /** Such as `ENOENT`; empty if there is none. */
  readonly code?: string;
  readonly message: string;
}

/** The reason behind an error of the file system; the text of the error if it is none of those that people meet. */
export function whyUnreadable(error: unknown): string {
  const { code = "", message = String(error) } = error as Partial<Failure>;
  return REASONS[code] ?? message;
}
