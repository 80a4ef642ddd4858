const name = 'parley.sound';

/**
 * The sound of a call belongs to one tab of a browser: two tabs side by side with microphone and loudspeaker would howl.
 *
 * Resolves to whether this tab has it; `freed` is called if it had not and the other tab has let it go.
 */
export async function takeSound(signal: AbortSignal, freed: () => void): Promise<boolean> {
  if (!navigator.locks) return true; // insecure pages have no locks, and no microphone either
  const held = (lock: Lock | null) => lock && new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()));
  const first = await new Promise<boolean>((resolve) => {
    void navigator.locks.request(name, {ifAvailable: true}, (lock) => {
      resolve(lock !== null);
      return held(lock);
    });
  });
  if (!first) {
    navigator.locks
      .request(name, {signal}, (lock) => {
        freed();
        return held(lock);
      })
      .catch(() => undefined); // this tab left while it waited
  }
  return first;
}

/** Whether another tab of this browser has the sound at this moment. */
export async function soundTaken(): Promise<boolean> {
  const locks = await navigator.locks?.query();
  return locks?.held?.some((lock) => lock.name === name) ?? false;
}
