'use strict';
/* The page shown while the runtime does not answer: asks this server once a second, and loads the page when it does. */
setInterval(async () => {
  try { const answer = await fetch('/alive', { cache: 'no-store' }); if (answer.ok && (await answer.json()).runtime) location.reload(); } catch (_) { /* asked again in a second */ }
}, 1000);
