type Handler = (value: never) => void;

/** How many events of one kind wait for their first handler. */
const maxKept = 64;

/**
 * An Emitter tells its handlers what happened. `Events` maps the name of an event to the value it carries.
 *
 * Events wait for the first handler of their kind: whoever asks for 'peer' a moment after joining still hears of
 * those who were there. At most 64 wait; then the oldest goes.
 */
export class Emitter<Events> {
  readonly #handlers = new Map<keyof Events, Set<Handler>>();
  readonly #kept = new Map<keyof Events, unknown[]>();

  /** Calls handler at every such event from now on. The function returned undoes it. */
  on<K extends keyof Events>(event: K, handler: (value: Events[K]) => void): () => void {
    let handlers = this.#handlers.get(event);
    if (!handlers) {
      this.#handlers.set(event, (handlers = new Set()));
      if (this.#kept.has(event)) queueMicrotask(() => this.#flush(event));
    }
    handlers.add(handler as Handler);
    return () => handlers.delete(handler as Handler);
  }

  /** Resolves at the next such event. */
  once<K extends keyof Events>(event: K): Promise<Events[K]> {
    return new Promise((resolve) => {
      const off = this.on(event, (value) => {
        off();
        resolve(value);
      });
    });
  }

  protected emit<K extends keyof Events>(event: K, value: Events[K]): void {
    const kept = this.#kept.get(event);
    if (kept || !this.#handlers.has(event)) {
      if (!kept) this.#kept.set(event, [value]);
      else if (kept.push(value) > maxKept) kept.shift();
      return;
    }
    this.#deliver(event, value);
  }

  #flush(event: keyof Events): void {
    const kept = this.#kept.get(event) ?? [];
    this.#kept.delete(event);
    for (const value of kept) this.#deliver(event, value);
  }

  #deliver(event: keyof Events, value: unknown): void {
    for (const handler of [...(this.#handlers.get(event) ?? [])]) {
      try {
        handler(value as never);
      } catch (error) {
        reportError(error); // a handler's mistake is its own: the others still hear
      }
    }
  }
}
