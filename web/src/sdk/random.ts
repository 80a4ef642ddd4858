/** Random text of A-Z a-z 0-9 - _, of so many bytes. Unlike crypto.randomUUID it works on pages that are not secure, too. */
export function randomText(bytes: number): string {
  const random = crypto.getRandomValues(new Uint8Array(bytes));
  return btoa(String.fromCharCode(...random)).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
}
