'use strict';
/* The page Decisions: filters, moving through the timeline with the keyboard, the panel as a drawer. */
(() => {
  const B = window.ballast, { $, $$ } = B;
  B.stats.filter_ms = []; B.stats.open_ms = [];
  let filtered = 0, opened = 0, before = null;
  const open = () => { const panel = $('#panel'); if (B.narrow() && !panel.classList.contains('open')) { before = document.activeElement; panel.classList.add('open'); } panel.focus(); };
  const close = () => { const panel = $('#panel'); if (panel.classList.contains('open')) { panel.classList.remove('open'); (before && before !== document.body && before.isConnected ? before : $('#dectab')).focus(); } };
  const ask = () => {
    const data = new FormData($('#filters'));
    filtered = performance.now();
    B.send({ filter: { asset: data.get('asset'), gate: data.get('gate'), hours: data.get('hours'), action: $$('#filters [aria-pressed=true]').map(b => b.dataset.action)[0] || '' } });
  };
  const move = step => { opened = performance.now(); B.send({ move: step }); };
  B.on.detail = html => {
    const detail = $('#detail'), panel = $('#panel'), same = detail.dataset.id === html.id;
    const inside = same && detail.contains(document.activeElement) ? document.activeElement.id : '';
    detail.innerHTML = html.html; detail.dataset.id = html.id;
    if (!same) panel.scrollTop = 0;
    if (inside && document.getElementById(inside)) document.getElementById(inside).focus();
    if (opened) { B.stats.open_ms.push(performance.now() - opened); opened = 0; }
    if (html.open && B.narrow()) open();
    history.replaceState(null, '', '?id=' + html.id);
  };
  B.on.filtered = count => {
    if (filtered) { B.stats.filter_ms.push(performance.now() - filtered); filtered = 0; }
    $('#live').textContent = count + ' decisions';
  };
  B.page = () => {
    const form = $('#filters');
    form.addEventListener('submit', e => e.preventDefault());
    form.addEventListener('change', ask);
    form.addEventListener('reset', () => { $$('[aria-pressed]', form).forEach(b => b.setAttribute('aria-pressed', 'false')); setTimeout(ask); });
    $$('[data-action]', form).forEach(b => b.addEventListener('click', () => {
      const on = b.getAttribute('aria-pressed') === 'true';
      $$('[aria-pressed]', form).forEach(other => other.setAttribute('aria-pressed', 'false'));
      b.setAttribute('aria-pressed', on ? 'false' : 'true'); ask();
    }));
    $('#dectab').addEventListener('keydown', e => {
      const step = { ArrowDown: 1, j: 1, ArrowUp: -1, k: -1, PageDown: 20, PageUp: -20 }[e.key];
      if (step && !e.target.closest('button')) { e.preventDefault(); move(step); }
      if (e.key === 'Enter' && e.target === $('#dectab')) open();
    });
    $('#pclose').addEventListener('click', close);
    document.addEventListener('keydown', e => { if (e.key === 'Escape' && !$$('dialog').some(d => d.open)) close(); });
    document.addEventListener('click', e => {
      const explain = e.target.closest('#explain'); if (explain) { explain.disabled = true; explain.textContent = 'Computing…'; B.send({ explain: true }); }
      const tab = e.target.closest('[data-horizon]');
      if (tab) {
        $$('[data-horizon]').forEach(b => b.setAttribute('aria-pressed', b === tab ? 'true' : 'false'));
        $$('[data-shap]').forEach(s => { s.hidden = s.dataset.shap !== tab.dataset.horizon; });
      }
    });
    if (B.narrow() && new URLSearchParams(location.search).has('id')) open();
  };
})();
