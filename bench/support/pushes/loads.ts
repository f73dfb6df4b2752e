/** The loads of the push bench, by name. */
import type { FanOut, Load } from './backend.js';

/** Loads of pushes one by one. Those with a pace have the rate of `--pace`. */
const STEADY = {
  unaryLive: { calls: 'unary', durable: false, isPaced: false },
  unaryDurable: { calls: 'unary', durable: true, isPaced: false },
  streamLive: { calls: 'stream', durable: false, isPaced: false },
  streamDurable: { calls: 'stream', durable: true, isPaced: false },
  pacedUnaryLive: { calls: 'unary', durable: false, isPaced: true },
  pacedUnaryDurable: { calls: 'unary', durable: true, isPaced: true },
  pacedStreamLive: { calls: 'stream', durable: false, isPaced: true },
  pacedStreamDurable: { calls: 'stream', durable: true, isPaced: true },
} as const satisfies Record<string, { isPaced: boolean } & Omit<Load, 'perSecond'>>;

/** One payload to many clients. */
export const FAN_OUTS = {
  pushManyLive: { way: 'each', durable: false },
  pushManyDurable: { way: 'each', durable: true },
  broadcast: { way: 'all', durable: false },
} as const satisfies Record<string, FanOut>;

export type SteadyName = keyof typeof STEADY;
export type FanOutName = keyof typeof FAN_OUTS;
export type LoadName = SteadyName | FanOutName;

export const STEADY_NAMES = Object.keys(STEADY) as readonly SteadyName[];
export const FAN_OUT_NAMES = Object.keys(FAN_OUTS) as readonly FanOutName[];
export const LOAD_NAMES: readonly LoadName[] = [...STEADY_NAMES, ...FAN_OUT_NAMES];

/** @param pace pushes per second of the loads that have a pace */
export function steadyLoad(name: SteadyName, pace: number): Load {
  const { calls, durable, isPaced } = STEADY[name];
  return { calls, durable, perSecond: isPaced ? pace : 0 };
}
