/** Writes messages of Protocol Buffers, as far as OTLP needs it. Fields with their default are written too, which readers accept. */

/** How a field is written: a number type, text, an id in hexadecimal digits (bytes), or a message. Lists are written as repeated fields. */
type FieldType = ScalarType | MessageType;
type ScalarType = "string" | "bool" | "uint32" | "int64" | "fixed32" | "fixed64" | "double" | "id";

/** The number and the type of each field, by its name. */
export interface MessageType {
  readonly [field: string]: readonly [number: number, type: FieldType];
}

const VARINT = 0;
const FIXED64 = 1;
const BYTES = 2;
const FIXED32 = 5;

/** Encodes a message. @param message its fields by name; those that are undefined are left out */
export function encodeMessage(type: MessageType, message: object): Uint8Array {
  const writer = new Writer();
  writer.fields(type, message);
  return writer.written;
}

class Writer {
  #bytes = Buffer.allocUnsafe(64 * 1024);
  #length = 0;

  get written(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }

  fields(type: MessageType, message: object): void {
    for (const [name, value] of Object.entries(message)) {
      const field = type[name];
      if (field === undefined) throw new Error(`the message has no field ${name}`);
      if (value === undefined) continue;
      if (!Array.isArray(value)) this.#field(field[0], field[1], value);
      else for (const each of value) this.#field(field[0], field[1], each);
    }
  }

  #field(number: number, type: FieldType, value: unknown): void {
    if (typeof type === "object") {
      this.#varint(number * 8 + BYTES);
      this.#measured(() => this.fields(type, value as object));
      return;
    }
    const [wire, write] = this.#scalars[type];
    this.#varint(number * 8 + wire);
    write(value as never);
  }

  /** How each type but messages is written: its wire type, and its value. */
  readonly #scalars: Readonly<Record<ScalarType, readonly [wire: number, write: (value: never) => void]>> = {
    string: [BYTES, (value: string) => this.#text(value, "utf8")],
    id: [BYTES, (value: string) => this.#text(value, "hex")],
    bool: [VARINT, (value: boolean) => this.#varint(value ? 1 : 0)],
    uint32: [VARINT, (value: number) => this.#varint(value)],
    int64: [VARINT, (value: string) => this.#longVarint(BigInt(value))],
    fixed32: [FIXED32, (value: number) => this.#fixed(4, (at) => this.#bytes.writeUInt32LE(value, at))],
    fixed64: [
      FIXED64,
      (value: string) => this.#fixed(8, (at) => this.#bytes.writeBigUInt64LE(BigInt(value), at)),
    ],
    double: [FIXED64, (value: number) => this.#fixed(8, (at) => this.#bytes.writeDoubleLE(value, at))],
  };

  #fixed(length: number, write: (at: number) => void): void {
    write(this.#claim(length));
  }

  /** Writes something after its length, which is known afterwards: mostly it fits one byte. */
  #measured(write: () => void): void {
    const at = this.#claim(1);
    write();
    const length = this.#length - at - 1;
    if (length > 127) {
      const more = varintLength(length) - 1;
      this.#claim(more);
      this.#bytes.copyWithin(at + 1 + more, at + 1, at + 1 + length);
    }
    let place = at;
    let left = length;
    for (; left > 127; left = Math.floor(left / 128)) this.#bytes[place++] = (left & 127) | 128;
    this.#bytes[place] = left;
  }

  /** @param value at most 2^31 - 1 */
  #varint(value: number): void {
    let left = value;
    for (; left > 127; left >>>= 7) this.#byte((left & 127) | 128);
    this.#byte(left);
  }

  /** A negative number is written as 64 bits. */
  #longVarint(value: bigint): void {
    let left = BigInt.asUintN(64, value);
    for (; left > 127n; left >>= 7n) this.#byte(Number(left & 127n) | 128);
    this.#byte(Number(left));
  }

  #text(value: string, encoding: "utf8" | "hex"): void {
    const length = Buffer.byteLength(value, encoding);
    this.#varint(length);
    const at = this.#claim(length);
    this.#bytes.write(value, at, length, encoding);
  }

  #byte(value: number): void {
    const at = this.#claim(1);
    this.#bytes[at] = value;
  }

  /** Makes space at the end, perhaps in another buffer. @returns where it is */
  #claim(length: number): number {
    const at = this.#length;
    if (at + length > this.#bytes.length) {
      const larger = Buffer.allocUnsafe(Math.max(at + length, this.#bytes.length * 2));
      this.#bytes.copy(larger, 0, 0, at);
      this.#bytes = larger;
    }
    this.#length = at + length;
    return at;
  }
}

function varintLength(value: number): number {
  let length = 1;
  for (let left = value; left > 127; left = Math.floor(left / 128)) length++;
  return length;
}
