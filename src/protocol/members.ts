/**
 * The principals of one installation that a client knows, and the one that it uses. Usually there is one, at one address. An
 * installation with several members has as many addresses as the operator gave; any member that answers names all of them.
 */
import { createHash } from "node:crypto";
import type { MemberAddress, PrincipalInfo } from "../contract/messages.ts";
import { isLoopback } from "../host/addresses.ts";
import { hostAndPort } from "../zmq/endpoint.ts";

/** Where a principal can be reached. */
export interface Address {
  readonly host: string;
  readonly port: number;
}

/** The ports of a principal's sockets for log lines. */
interface LogPorts {
  readonly logsListening: number;
  readonly logsPublishing: number;
}

/** A member at its address. */
export interface Place extends Address {
  /** `HOST:PORT`. */
  readonly address: string;
  /** The name of the member; undefined until one has said so. */
  readonly member?: string;
  /** As the member said; undefined until then. */
  readonly logPorts?: LogPorts;
}

/** What a member says about itself and the others. */
export type MemberNews = Pick<
  PrincipalInfo,
  "member" | "members" | "logs_listening_port" | "logs_publishing_port"
>;

/**
 * See the top of this file. The places are in order of preference: as they were given, then those that were learned; for an agent in
 * an order of its own, so that agents are spread over the members and those of a lost member over all that are left.
 */
export class Members {
  readonly #given: readonly Address[];
  readonly #preferredBy: string | undefined;
  #learned: readonly MemberAddress[];
  /** What members said about themselves, by the address at which they did. */
  readonly #heard = new Map<string, Pick<Place, "member" | "logPorts">>();
  #all: readonly Place[];
  #current: Place;

  /**
   * @param given addresses that the operator gave
   * @param options.remembered members that an earlier process has learned
   * @param options.preferredBy whose order of preference it is, such as an agent's id; by default it is the order of `given`
   */
  constructor(
    given: readonly [Address, ...Address[]],
    options: {
      readonly remembered?: readonly MemberAddress[];
      readonly preferredBy?: string | undefined;
    } = {},
  ) {
    this.#given = given;
    this.#preferredBy = options.preferredBy;
    this.#learned = options.remembered ?? [];
    this.#all = this.#list();
    this.#current = this.preferred;
  }

  /** The member that is used. */
  get current(): Place {
    return this.#current;
  }

  /** All places, in order of preference. */
  get all(): readonly Place[] {
    return this.#all;
  }

  /** Whether there is more than one. */
  get hasOthers(): boolean {
    return this.#all.length > 1;
  }

  /** The first choice. */
  get preferred(): Place {
    return this.#all[0] ?? this.#current;
  }

  /** The members that were learned, as they were named. */
  get learned(): readonly MemberAddress[] {
    return this.#learned;
  }

  /** All addresses for a message: `a:5561`, or `a:5561, b:5561 and c:5561`. */
  get named(): string {
    const addresses = this.#all.map(({ address }) => address);
    const last = addresses.pop() ?? "";
    return addresses.length === 0 ? last : `${addresses.join(", ")} and ${last}`;
  }

  /** Turns to the next place, because the present one does not answer. */
  next(): Place {
    const at = this.#all.findIndex(({ address }) => address === this.#current.address);
    this.#current = this.#all[(at + 1) % this.#all.length] ?? this.#current;
    return this.#current;
  }

  /** Turns to a place. */
  use(place: Place): void {
    this.#current = place;
  }

  /** Takes in what the present member says. Returns whether other members are known than before. */
  learn(news: MemberNews): boolean {
    const before = JSON.stringify(this.#learned);
    const { host, port, address } = this.#current;
    const logPorts = { logsListening: news.logs_listening_port, logsPublishing: news.logs_publishing_port };
    const about = { logPorts, ...(news.member === undefined ? {} : { member: news.member }) };
    this.#heard.set(address, about);
    // Elsewhere, the loopback address of a member leads to something else.
    this.#learned = (news.members ?? []).filter((one) => isLoopback(host) || !isLoopback(one.host));
    this.#all = this.#list();
    this.#current = this.#all.find((place) => place.address === address) ?? { host, port, address, ...about };
    return JSON.stringify(this.#learned) !== before;
  }

  /** A learned member at an address that was given is listed with that address, which is known to lead there. */
  #list(): readonly Place[] {
    const given = this.#given.map((of) => {
      const address = hostAndPort(of.host, of.port);
      return { ...of, address, ...this.#heard.get(address) };
    });
    const isListed = ({ address, member }: Place) =>
      given.some((other) => other.address === address || (member !== undefined && other.member === member));
    const learned = this.#learned.map(placeOf);
    const places = new Map(
      [
        ...given.map((place) => ({ ...learned.find(({ address }) => address === place.address), ...place })),
        ...learned.filter((place) => !isListed(place)),
      ].map((place) => [place.address, place]),
    );
    return this.#inOrder([...places.values()]);
  }

  /** Rendezvous hashing: when a member comes or goes, only those have another first choice whose first choice it is. */
  #inOrder(places: readonly Place[]): readonly Place[] {
    const by = this.#preferredBy;
    if (by === undefined) return places;
    // The same member counts as one, whether its address was given or learned.
    const advertised = new Map(this.#learned.map((member) => [member.name, placeOf(member).address]));
    const rank = ({ member = "", address }: Place) =>
      createHash("sha256")
        .update(`${by} ${advertised.get(member) ?? address}`)
        .digest("hex");
    return places
      .map((place) => ({ place, rank: rank(place) }))
      .sort((a, b) => (a.rank < b.rank ? 1 : -1))
      .map(({ place }) => place);
  }
}

function placeOf(member: MemberAddress): Place {
  const { host, api_port: port, name, logs_listening_port, logs_publishing_port } = member;
  return {
    host,
    port,
    address: hostAndPort(host, port),
    member: name,
    logPorts: { logsListening: logs_listening_port, logsPublishing: logs_publishing_port },
  };
}
