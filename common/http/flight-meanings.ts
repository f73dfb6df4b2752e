/** The names of the steps of a flight record, for people. */
import type { FlightStep } from './flight-steps.js';

export const STEP_MEANINGS: Readonly<Record<FlightStep['event'], string>> = {
  RECEIVED: 'received by the router',
  STORED: 'stored in Redis',
  PUBLISHED: 'published by Redis',
  ACCEPTED: 'answer of Redis at the router',
  HEARD: 'heard by the edge',
  WRITTEN: 'written to the device',
  NOT_WRITTEN: 'not written to the device',
  REPLIED: 'reply of the edge at the router',
  CONFIRMED: 'confirmed by the device',
  ANSWERED: 'verdict',
};
