import { describe, expect, test } from "bun:test";
import type { MemberAddress } from "../../src/contract/messages.ts";
import { type MemberNews, Members } from "../../src/protocol/members.ts";

const at = (host: string, port = 5561) => ({ host, port });
const member = (name: string, host = name): MemberAddress => ({
  name,
  host,
  api_port: 5561,
  logs_listening_port: 5562,
  logs_publishing_port: 5563,
});
const news = (name: string | undefined, ...members: MemberAddress[]): MemberNews => ({
  logs_listening_port: 5562,
  logs_publishing_port: 5563,
  ...(name === undefined ? {} : { member: name }),
  ...(members.length === 0 ? {} : { members }),
});
const addresses = (members: Members) => members.all.map(({ address }) => address);

describe("Members", () => {
  test("a single principal stays the only place, whatever it says about its ports", () => {
    const members = new Members([at("10.0.0.1")]);
    expect(members.learn(news(undefined))).toBe(false);
    expect([members.hasOthers, addresses(members), members.named]).toEqual([
      false,
      ["10.0.0.1:5561"],
      "10.0.0.1:5561",
    ]);
    expect(members.current.logPorts).toEqual({ logsListening: 5562, logsPublishing: 5563 });
    expect(members.next()).toEqual(members.current);
  });

  test("goes through the given addresses in order, and begins again", () => {
    const members = new Members([at("a"), at("b"), at("::1", 7)]);
    expect([members.current.address, members.next().address, members.next().address]).toEqual([
      "a:5561",
      "b:5561",
      "[::1]:7",
    ]);
    expect(members.next().address).toBe("a:5561");
    expect(members.named).toBe("a:5561, b:5561 and [::1]:7");
  });

  test("learns the others from any member, and forgets those that are gone", () => {
    const members = new Members([at("a")]);
    expect(members.learn(news("a", member("a"), member("b"), member("c")))).toBe(true);
    expect(addresses(members)).toEqual(["a:5561", "b:5561", "c:5561"]);
    expect(members.learn(news("a", member("a"), member("b"), member("c")))).toBe(false);
    expect(members.learn(news("a", member("a"), member("c")))).toBe(true);
    expect(addresses(members)).toEqual(["a:5561", "c:5561"]);
  });

  test("what was given stays, and is tried again when all that was learned is gone", () => {
    const members = new Members([at("a"), at("b")]);
    members.learn(news("one", member("one", "a"), member("three", "c")));
    members.next();
    members.next();
    expect(members.current.address).toBe("c:5561");
    members.learn(news("three", member("four", "d")));
    // The present one is used as long as it answers, but is no place to come back to.
    expect([members.current.address, addresses(members)]).toEqual(["c:5561", ["a:5561", "b:5561", "d:5561"]]);
    expect(members.next().address).toBe("a:5561");
  });

  test("a member counts once, under the address that was given, once it has said its name there", () => {
    const members = new Members([at("principal.example.org")]);
    members.learn(news("one", member("one", "10.0.0.1"), member("two", "10.0.0.2")));
    expect(addresses(members)).toEqual(["principal.example.org:5561", "10.0.0.2:5561"]);
    expect(members.current.member).toBe("one");
  });

  test("the loopback addresses of members elsewhere are not used", () => {
    const elsewhere = new Members([at("10.0.0.1")]);
    elsewhere.learn(news("one", member("one", "127.0.0.1"), member("two", "10.0.0.2")));
    expect(addresses(elsewhere)).toEqual(["10.0.0.1:5561", "10.0.0.2:5561"]);
    const here = new Members([at("127.0.0.1")]);
    here.learn(news("one", member("one", "127.0.0.1"), { ...member("two", "127.0.0.1"), api_port: 6 }));
    expect(addresses(here)).toEqual(["127.0.0.1:5561", "127.0.0.1:6"]);
  });

  test("agents are spread, and those of a member that is gone over all others; the rest stay where they are", () => {
    const given = [at("a"), at("b"), at("c")] as const;
    const three = new Map<string, Members>();
    for (let i = 0; i < 3000; i++) three.set(`agent-${i}`, new Members(given, { preferredBy: `agent-${i}` }));
    const counts = (of: Iterable<string>) => {
      const found: Record<string, number> = {};
      for (const address of of) found[address] = (found[address] ?? 0) + 1;
      return found;
    };
    const first = counts([...three.values()].map(({ preferred }) => preferred.address));
    for (const count of Object.values(first)) expect(count).toBeGreaterThan(900);
    const ofA = [...three.values()].filter(({ preferred }) => preferred.address === "a:5561");
    const second = counts(ofA.map((members) => members.next().address));
    expect(Object.keys(second).sort()).toEqual(["b:5561", "c:5561"]);
    for (const count of Object.values(second)) expect(count).toBeGreaterThan(ofA.length * 0.4);
    for (const [id, members] of three) {
      if (members.preferred.address === "a:5561") continue;
      expect(new Members([at("c"), at("b")], { preferredBy: id }).preferred).toEqual(members.preferred);
    }
  });

  test("the order of an agent is the same whether it was given the addresses or has learned them", () => {
    const all = [member("one", "10.0.0.1"), member("two", "10.0.0.2"), member("three", "10.0.0.3")];
    for (let i = 0; i < 50; i++) {
      const preferredBy = `agent-${i}`;
      const given = new Members([at("10.0.0.1"), at("10.0.0.2"), at("10.0.0.3")], { preferredBy });
      const learned = new Members([at("10.0.0.2")], { preferredBy });
      learned.learn(news("two", ...all));
      const remembered = new Members([at("10.0.0.2")], { preferredBy, remembered: all });
      const named = new Members([at("principal")], { preferredBy });
      named.learn(news("one", ...all));
      expect(addresses(learned)).toEqual(addresses(given));
      expect(addresses(remembered)).toEqual(addresses(given));
      expect(addresses(named).map((address) => address.replace("principal", "10.0.0.1"))).toEqual(
        addresses(given),
      );
    }
  });
});
