/** Dark or light: as the browser says, until a person chooses. */

const SCHEME = 'longline-scheme';
const prefersDark = matchMedia('(prefers-color-scheme: dark)');

export function applyScheme(): void {
  document.documentElement.style.colorScheme = localStorage.getItem(SCHEME) ?? '';
}

export function toggleScheme(): void {
  const now = localStorage.getItem(SCHEME) ?? (prefersDark.matches ? 'dark' : 'light');
  localStorage.setItem(SCHEME, now === 'dark' ? 'light' : 'dark');
  applyScheme();
  dispatchEvent(new Event('scheme'));
}

/** For canvases, which take their colours from the style sheet. Returns a function that ends it. */
export function onScheme(listener: () => void): () => void {
  prefersDark.addEventListener('change', listener);
  addEventListener('scheme', listener);
  return () => {
    prefersDark.removeEventListener('change', listener);
    removeEventListener('scheme', listener);
  };
}
