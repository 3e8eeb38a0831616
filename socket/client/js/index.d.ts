import type { Channel, Socket } from "phoenix"

/** A place in the log: joining from it brings what comes after it. */
export interface Position {
  /** Of the log that the offset is of; without it, a log that was replaced is not noticed. */
  epoch?: string
  after: number
}

/** Where positions are kept. What fails is reported on the console. */
export interface Store {
  load(topic: string): Position | null | undefined
  save(topic: string, at: Position): void
}

export interface Options {
  /** Params of the join, besides `after` and `epoch`; a function is asked at every join. */
  params?: object | (() => object)
  /** Where to begin if the store has nothing: null or nothing for from now on. */
  from?: Position | number | null
  store?: Store
  /** What was missed is no longer kept: load the state. Events wait until it settles. */
  onReset?(at: Position): void | Promise<void>
}

export interface Meta<K = string> {
  event: K
  /** In the log; none for a broadcast. */
  offset?: number
}

export type Received<E> = { [K in keyof E & string]: Meta<K> & { data: E[K] } }[keyof E & string]

export interface Stream<E extends Record<string, any> = Record<string, any>> {
  /** The stock channel: for pushes, Presence, onError and onClose. */
  readonly channel: Channel
  /** What the program is done with; null before the first join was answered. */
  readonly position: Position | null | undefined
  /** Adds a listener, and returns what takes it away. */
  on<K extends keyof E & string>(event: K, listener: (data: E[K], meta: Meta<K>) => void): () => void
  /** All events, one at a time: one is done with when the next is asked for. Of `sluice_position`, which has no data, too. */
  events(): AsyncGenerator<Received<E>, void, void>
  /** Settles as the first attempt does; the stock client goes on trying either way. */
  join(): Promise<{ resumed: boolean; offset: number; epoch: string }>
  leave(): Promise<unknown>
}

export function stream<E extends Record<string, any> = Record<string, any>>(socket: Socket, topic: string, options?: Options): Stream<E>

/** Positions in sessionStorage, or another: they survive a reload. */
export function sessionStore(prefix?: string, storage?: Storage): Store

/** Gives the server a new token for a socket that has a channel joined. */
export function renew(socket: Socket, token: string): Promise<unknown>
