/**
 * The symbol versions that a shared library requires and provides: they decide whether the loader accepts it.
 * Format: System V ABI (ELF-64, little-endian), and "Symbol Versioning" of the Linux Standard Base, core specification 5.0, chapter 10.7.
 */

const SECTION_VERDEF = 0x6ffffffd;
const SECTION_VERNEED = 0x6ffffffe;
/** For weak versions the loader only warns when they are missing. */
const FLAG_WEAK = 0x2;

/** Version names such as `GLIBC_2.17` by the library that must provide them, such as `libc.so.6`. */
export type NeededVersions = ReadonlyMap<string, ReadonlySet<string>>;

interface Section {
  readonly type: number;
  readonly at: number;
  /** The section with the names. */
  readonly link: number;
  /** Number of entries. */
  readonly info: number;
}

/** @throws RangeError when `bytes` is not a complete 64-bit little-endian ELF file */
export function neededVersions(bytes: Buffer): NeededVersions {
  const needed = new Map<string, Set<string>>();
  const sections = sectionsOf(bytes);
  for (const section of sections.filter(({ type }) => type === SECTION_VERNEED)) {
    const nameAt = namesOf(bytes, sections, section);
    let at = section.at;
    for (let i = 0; i < section.info; i++) {
      const file = nameAt(bytes.readUInt32LE(at + 4));
      const versions = needed.get(file) ?? new Set();
      needed.set(file, versions);
      let version = at + bytes.readUInt32LE(at + 8);
      for (let j = bytes.readUInt16LE(at + 2); j > 0; j--) {
        const isWeak = (bytes.readUInt16LE(version + 4) & FLAG_WEAK) !== 0;
        if (!isWeak) versions.add(nameAt(bytes.readUInt32LE(version + 8)));
        version += bytes.readUInt32LE(version + 12);
      }
      at += bytes.readUInt32LE(at + 12);
    }
  }
  return needed;
}

/** @throws RangeError when `bytes` is not a complete 64-bit little-endian ELF file */
export function definedVersions(bytes: Buffer): ReadonlySet<string> {
  const defined = new Set<string>();
  const sections = sectionsOf(bytes);
  for (const section of sections.filter(({ type }) => type === SECTION_VERDEF)) {
    const nameAt = namesOf(bytes, sections, section);
    let at = section.at;
    for (let i = 0; i < section.info; i++) {
      const auxiliary = at + bytes.readUInt32LE(at + 12);
      defined.add(nameAt(bytes.readUInt32LE(auxiliary)));
      at += bytes.readUInt32LE(at + 16);
    }
  }
  return defined;
}

function sectionsOf(bytes: Buffer): Section[] {
  const isElf64 = bytes.length >= 64 && bytes.readUInt32BE(0) === 0x7f454c46 && bytes[4] === 2;
  if (!isElf64 || bytes[5] !== 1) throw new RangeError("not a 64-bit little-endian ELF file");
  const table = Number(bytes.readBigUInt64LE(0x28));
  const size = bytes.readUInt16LE(0x3a);
  return Array.from({ length: bytes.readUInt16LE(0x3c) }, (_, i) => {
    const at = table + i * size;
    return {
      type: bytes.readUInt32LE(at + 4),
      at: Number(bytes.readBigUInt64LE(at + 0x18)),
      link: bytes.readUInt32LE(at + 0x28),
      info: bytes.readUInt32LE(at + 0x2c),
    };
  });
}

function namesOf(bytes: Buffer, sections: readonly Section[], { link }: Section): (offset: number) => string {
  const names = sections[link]?.at ?? Number.NaN;
  return (offset) => bytes.toString("latin1", names + offset, bytes.indexOf(0, names + offset));
}
