/**
 * Browsers refuse a relay over TLS (turns:) whose certificate they do not trust, also where a person clicked through the
 * page's warning. The page cannot see the difference, but it can ask for something that is refused in the same way.
 */

/** How long the answer may take, in milliseconds: joining waits for it. */
const within = 1_000;

const script = '/sw.js';

let proof: Promise<boolean> | undefined;

/** Whether the browser trusts this server's certificate, with no warning; false also where that cannot be found out. Asks once. */
export function isTrusted(): Promise<boolean> {
  proof ??= Promise.race([prove(), new Promise<boolean>((resolve) => setTimeout(() => resolve(false), within))]);
  return proof;
}

/** Registers a service worker that does nothing, which browsers do only without a certificate error, and takes it away again. */
async function prove(): Promise<boolean> {
  if (location.protocol !== 'https:' || !('serviceWorker' in navigator)) return false;
  try {
    // Its own address is all of its scope: a worker that the page may have is not touched.
    const registration = await navigator.serviceWorker.register(scriptURL(), {scope: script});
    void registration.unregister();
    return true;
  } catch {
    return false;
  }
}

/** The address as pages want it that have Trusted Types, as Parley's own do. */
function scriptURL(): string {
  const {trustedTypes} = globalThis as {
    trustedTypes?: {createPolicy(name: string, rules: {createScriptURL: () => string}): {createScriptURL(text: string): string}};
  };
  return trustedTypes ? trustedTypes.createPolicy('parley', {createScriptURL: () => script}).createScriptURL(script) : script;
}
