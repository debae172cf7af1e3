'use strict';
/* Before the first paint: the theme of the person's system, until they choose one. The server cannot know it and draws the marks of the
   plots, so it is told by the cookie, and a page that it made for the other theme is asked for again before anything of it shows. */
(() => {
  const root = document.documentElement, system = matchMedia('(prefers-color-scheme: dark)');
  const kept = () => (/(?:^|; )ballast_theme=([a-z-]*)/.exec(document.cookie) || [])[1] || '';
  const T = window.ballastTheme = {
    keep: value => { document.cookie = `ballast_theme=${value}; path=/; max-age=31536000; SameSite=Strict`; },
    chosen: () => ['light', 'dark'].includes(kept()),
    ofSystem: () => (system.matches ? 'dark' : 'light'),
    onSystem: changed => system.addEventListener('change', changed),
  };
  if (T.chosen() || root.dataset.theme === T.ofSystem()) return;
  root.dataset.theme = T.ofSystem();
  T.keep('system-' + T.ofSystem());
  if (kept() === 'system-' + T.ofSystem()) location.reload();
})();
