// The page's text in the language of its visitor. One function: `languages` is what the files in messages/ hold.
//
// It runs before anything of the page is parsed, so that nobody sees one language give way to another. The page asks
// for it as `?messages.js`, which leads to the same place with and without a slash at the end of the page's address.
(function (languages) {
  'use strict';
  const FALLBACK = 'en';
  const ATTRIBUTES = ['alt', 'aria-label', 'content'];
  const root = document.documentElement;
  const locale = navigator.languages.map(canonical).find((tag) => languageOf(tag) in languages) ?? FALLBACK;
  const messages = languages[languageOf(locale)];
  const numbers = new Intl.NumberFormat(locale);
  const plurals = new Intl.PluralRules(locale);

  // Some systems give their browsers locales that are none, as `en-US@posix`.
  function canonical(tag) {
    try {
      return Intl.getCanonicalLocales(tag)[0];
    } catch {
      return FALLBACK;
    }
  }

  function languageOf(tag) {
    return tag.split('-')[0];
  }

  function number(value) {
    return numbers.format(value);
  }

  // A message with its values put in. Where it has several forms, the number `count` decides.
  function message(key, values = {}) {
    const found = messages[key];
    const text = typeof found === 'string' ? found : (found[plurals.select(values.count)] ?? found.other);
    return text.replace(/\{(\w+)\}/g, function (_, name) {
      return typeof values[name] === 'number' ? number(values[name]) : values[name];
    });
  }

  // May be repeated: what is right already is left alone.
  function translate() {
    for (const element of document.querySelectorAll('[data-message]')) {
      const text = message(element.dataset.message);
      if (element.textContent !== text) element.textContent = text;
    }
    for (const name of ATTRIBUTES) {
      for (const element of document.querySelectorAll(`[data-message-${name}]`)) {
        const text = message(element.getAttribute(`data-message-${name}`));
        if (element.getAttribute(name) !== text) element.setAttribute(name, text);
      }
    }
  }

  // The addresses of the page's parts are relative, so below a path the page's own has to end with a slash.
  if (!location.pathname.endsWith('/')) {
    history.replaceState(history.state, '', `${location.pathname}/${location.search}${location.hash}`);
  }

  root.lang = messages.lang;
  // What needs scripts is shown from here on; if a part of the page does not load, the page says so instead.
  root.dataset.scripted = '';
  addEventListener('error', ({ target }) => target instanceof HTMLScriptElement && delete root.dataset.scripted, true);

  // Callbacks of an observer come before the next painting, so what the parser adds is never seen untranslated.
  const observer = new MutationObserver(translate);
  observer.observe(document, { childList: true, characterData: true, subtree: true });
  document.addEventListener('readystatechange', function () {
    observer.disconnect();
    translate();
  }, { once: true });

  globalThis.messages = { locale, message, number };
})
