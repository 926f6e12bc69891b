/**
 * Typed sockets over libzmq, with the class names and async iterators of zeromq.js 6. Importing this loads no native
 * library: the first socket does.
 */
export { type Authentication, type Authenticator, authenticate } from "./authenticator.ts";
export type { Capability } from "./constants.ts";
export {
  type CurveKeyPair,
  curveKeyPair,
  curvePublicKey,
  has,
  isCurveKey,
  version,
  z85Encode,
} from "./curve.ts";
export { hostAndPort, tcpEndpoint } from "./endpoint.ts";
export { ZmqError } from "./error.ts";
export type { Frame, Message, MessageLike, PeerProperties } from "./message.ts";
export type { SocketEvent, SocketEvents, SocketEventType } from "./monitor.ts";
export type {
  DealerOptions,
  PublisherOptions,
  RequestOptions,
  RouterOptions,
  RoutingIdOptions,
  SocketOptions,
  XPublisherOptions,
} from "./options.ts";
export type { Connection } from "./peers.ts";
export { Socket } from "./socket.ts";
export {
  Dealer,
  Publisher,
  Pull,
  Push,
  type Readable,
  Reply,
  Request,
  Router,
  Subscriber,
  type Writable,
  XPublisher,
} from "./sockets.ts";
