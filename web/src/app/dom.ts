import {icons} from './icons.ts';
import type {IconName} from './icons.ts';

type Child = Node | string | null | undefined | false;

type Attributes = {
  [attribute: `aria-${string}`]: string | boolean | undefined;
  /** A stable name for tests: data-testid. */
  testid?: string;
  class?: string;
  [property: string]: unknown;
};

/**
 * Makes an element: `h('button.quiet', {onclick: leave, 'aria-label': 'Leave'}, icon('leave'))`. What the element has as
 * a property is set as one; the rest are attributes. Text never becomes markup.
 */
export function h<K extends keyof HTMLElementTagNameMap>(
  selector: K | `${K}.${string}`, attributes: Attributes = {}, ...children: Child[]
): HTMLElementTagNameMap[K] {
  const [tag, ...classes] = selector.split('.');
  const element = document.createElement(tag as K);
  if (classes.length > 0) element.className = classes.join(' ');
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined) continue;
    if (name === 'testid') element.dataset['testid'] = String(value);
    else if (name === 'class') element.classList.add(...String(value).split(' ').filter(Boolean));
    else if (name in element && !name.startsWith('aria-')) Reflect.set(element, name, value);
    else element.setAttribute(name, String(value));
  }
  element.append(...children.filter((child): child is Node | string => child !== null && child !== undefined && child !== false));
  return element;
}

const svgNamespace = 'http://www.w3.org/2000/svg';

/** A drawing of 24 by 24, in the colour of the text around it; hidden from screen readers. */
export function icon(name: IconName): SVGSVGElement {
  const svg = document.createElementNS(svgNamespace, 'svg');
  svg.setAttribute('viewBox', '0 0 24 24');
  svg.setAttribute('class', 'icon');
  svg.setAttribute('aria-hidden', 'true');
  for (const d of icons[name]) {
    const path = document.createElementNS(svgNamespace, 'path');
    path.setAttribute('d', d);
    svg.append(path);
  }
  return svg;
}

/** The mark: two who face each other. */
export function mark(): SVGSVGElement {
  const svg = document.createElementNS(svgNamespace, 'svg');
  svg.setAttribute('viewBox', '0 0 38 36');
  svg.setAttribute('class', 'mark');
  svg.setAttribute('aria-hidden', 'true');
  for (const [name, d] of [['mark-one', 'M16 0A16 16 0 0 0 0 16v16l5-4h11z'], ['mark-two', 'M22 36a16 16 0 0 0 16-16V4l-5 4H22z']] as const) {
    const path = document.createElementNS(svgNamespace, 'path');
    path.setAttribute('d', d);
    path.setAttribute('class', name);
    svg.append(path);
  }
  return svg;
}

/** Puts these in the place of what the element held. */
export function fill(element: Element, ...children: Child[]): void {
  element.replaceChildren(...children.filter((child): child is Node | string => child !== null && child !== undefined && child !== false));
}

const live = h('div.visually-hidden', {role: 'status', 'aria-live': 'polite', testid: 'announcements'});

/** Tells users of a screen reader what others see. */
export function announce(text: string): void {
  if (!live.isConnected) document.body.append(live);
  live.append(h('p', {}, text));
  while (live.childElementCount > 5) live.firstElementChild?.remove();
}

/** Shows one page in the place of the one before, and sets the title. */
export function show(title: string, page: HTMLElement): void {
  document.title = title;
  document.querySelector('#page')?.remove();
  page.id = 'page';
  document.body.prepend(page);
}

/** Reads and writes what this browser remembers; forgets in silence where storage is switched off. */
export const memory = {
  get(key: string): string {
    try {
      return localStorage.getItem(`parley.${key}`) ?? '';
    } catch {
      return '';
    }
  },
  set(key: string, value: string): void {
    try {
      localStorage.setItem(`parley.${key}`, value);
    } catch {
      // private windows may refuse
    }
  },
};
