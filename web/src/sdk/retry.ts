/** Waits between two tries to reach the server (docs/signaling.md), in milliseconds. */
const first = 250;
const last = 5_000;
const lastUrgent = 1_000;

/**
 * How long to wait after so many failures: 0.25 s doubling to 5 s, or to 1 s where a call stands still meanwhile; or the
 * seconds that the server asked for. Either way everybody waits a little differently, so that not all come back in the
 * same moment; nobody comes sooner than asked.
 */
export function retryDelay(failures: number, asked: number | undefined, urgent: boolean, random = Math.random()): number {
  if (asked !== undefined) return asked * 1000 + random * Math.min(asked * 500, last);
  return Math.min(first * 2 ** failures, urgent ? lastUrgent : last) * (0.75 + random / 2);
}
