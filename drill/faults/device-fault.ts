/** Faults of devices, with the parameters that the seed has drawn. */

export type DeviceFault =
  /**
   * Ends connections. `silent`: stops reading a moment before a reset, so pushes in flight are
   * lost.
   */
  | {
      readonly kind: 'cut';
      readonly devices: readonly number[];
      readonly how: 'reset' | 'fin' | 'silent';
    }
  /** Disconnects, and reconnects later. */
  | { readonly kind: 'away'; readonly devices: readonly number[]; readonly forMs: number }
  /** Stops reading while it receives a flood of pushes, then continues. */
  | { readonly kind: 'pause'; readonly device: number; readonly forMs: number }
  /** Opens a second connection beside the first. */
  | {
      readonly kind: 'takeover';
      readonly devices: readonly number[];
      /** At the edge that the router names, or at any. */
      readonly where: 'owner' | 'anywhere';
    };
