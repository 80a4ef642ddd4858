/** The service worker of trust.ts. It handles nothing, and goes by itself if the page that wanted it is gone. */
const worker = self as unknown as EventTarget & {readonly registration: ServiceWorkerRegistration};
worker.addEventListener('activate', () => void worker.registration.unregister());

export {};
