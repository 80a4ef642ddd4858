import type {Kind} from '../sdk/index.ts';
import type {Problem} from './media.ts';

/** An Advice says what is wrong and what to do, in sentences. */
export interface Advice {
  title: string;
  text: string;
  steps: string[];
  link?: {text: string; href: string};
}

type Browser = 'chromium' | 'firefox' | 'safari' | 'ios' | 'android';

/** Which browser's words to use. Guessed from its name, for want of anything better: it changes sentences only. */
export function browser(agent = navigator.userAgent, touch = navigator.maxTouchPoints): Browser {
  if (/iPhone|iPad|iPod/.test(agent) || (/Macintosh/.test(agent) && touch > 1)) return 'ios';
  if (/Android/.test(agent)) return 'android';
  if (/Firefox/.test(agent)) return 'firefox';
  if (/Safari/.test(agent) && !/Chrom/.test(agent)) return 'safari';
  return 'chromium';
}

const names = {audio: 'microphone', video: 'camera'} as const;

/** How this browser gives a device back after it was refused. */
function allowAgain(which: Browser, device: string): string[] {
  switch (which) {
    case 'chromium':
      return [
        'Click the icon left of the address, at the top of this window.',
        `Switch ${device} on.`,
        'Come back here and choose “Try again”.',
      ];
    case 'firefox':
      return [
        `Click the crossed-out ${device} left of the address, at the top of this window.`,
        'Click the × beside “Blocked”.',
        'Come back here and choose “Try again”; Firefox asks anew.',
      ];
    case 'safari':
      return [
        'Open the menu Safari, then “Settings for This Website”.',
        `Set ${device} to “Allow”.`,
        'Come back here and choose “Try again”.',
      ];
    case 'ios':
      return [
        'Tap the icon at the left of the address bar, then “Website Settings”.',
        `Set ${device} to “Allow”.`,
        'If it is not offered: open the Settings app, find your browser there, and allow it the ' + device + '.',
        'Come back here and choose “Try again”.',
      ];
    case 'android':
      return [
        'Tap the icon left of the address, then “Permissions”.',
        `Allow the ${device}.`,
        'If it is not offered: in Android’s settings, under Apps, allow your browser the ' + device + '.',
        'Come back here and choose “Try again”.',
      ];
  }
}

/** What to do about a device that is not there. */
export function deviceAdvice(kind: Kind, problem: Problem): Advice {
  const device = names[kind];
  const Device = kind === 'audio' ? 'Microphone' : 'Camera';
  switch (problem) {
    case 'denied':
      return {
        title: `${Device} not allowed`,
        text: `This browser was told to keep the ${device} from this page. You can join without it, or allow it again:`,
        steps: allowAgain(browser(), device),
      };
    case 'denied-by-system':
      return {
        title: `${Device} blocked by the system`,
        text: `The browser may use the ${device}, but the operating system does not let it.`,
        steps: [
          `macOS: System Settings, Privacy & Security, ${Device}: switch your browser on. Windows: Settings, Privacy & security, ${Device}.`,
          'Start the browser again, open this page and choose “Try again”.',
        ],
      };
    case 'missing':
      return {
        title: `No ${device} found`,
        text: `This device has no ${device} that the browser can see. You can join without one.`,
        steps: ['If you have one, plug it in and switch it on.', 'Choose “Try again”.'],
      };
    case 'busy':
      return {
        title: `${Device} in use elsewhere`,
        text: `Another program holds the ${device}, so the browser cannot open it.`,
        steps: [
          'Close other video calls, recorders and camera programs, other tabs as well.',
          'If it still does not start, unplug it and plug it in again.',
          'Choose “Try again”.',
        ],
      };
    case 'insecure':
      return {
        title: 'This page is not secure',
        text: 'Browsers give camera and microphone to secure pages only: those with https, and those of this machine itself.',
        steps: ['Open the secure address below.', 'If the browser warns about the certificate, the page “Trust this server” there tells how to end that.'],
        link: {text: secureAddress(), href: secureAddress()},
      };
    case 'other':
      return {
        title: `${Device} did not start`,
        text: `The browser could not open the ${device} and did not say why.`,
        steps: ['Choose “Try again”.', 'If that does not help, start the browser again.'],
      };
  }
}

/** The same page by https: on the port that `parley serve` has for other devices, where this page names a port. */
function secureAddress(): string {
  const url = new URL(location.href);
  url.protocol = 'https:';
  if (url.port) url.port = '8443';
  return url.href;
}

/** From where an invitation works. */
export type Reach = 'machine' | 'network' | 'internet';

/** Tells from where a link can be opened, by its host: loopback, private ranges (RFC 1918, 6598, 4193, link-local), `.local`. */
export function reach(link: string): Reach {
  const host = new URL(link, location.href).hostname.replace(/^\[|\]$/g, '');
  if (host === 'localhost' || host.endsWith('.localhost') || /^127\./.test(host) || host === '::1') return 'machine';
  const near = [
    /^10\./, /^192\.168\./, /^172\.(1[6-9]|2\d|3[01])\./, /^169\.254\./, /^100\.(6[4-9]|[7-9]\d|1[01]\d|12[0-7])\./,
    /^f[cd][0-9a-f]{2}:/i, /^fe[89ab][0-9a-f]:/i, /\.local$/, /\.lan$/, /\.home\.arpa$/, /\.internal$/,
  ];
  return near.some((pattern) => pattern.test(host)) || !/[.:]/.test(host) ? 'network' : 'internet';
}
