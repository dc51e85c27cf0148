// The page's text in the language of its visitor. One function: `languages` holds the content of the files in
// messages/.
//
// It runs before the page is parsed, so that visitors never see the text change its language. The page asks for it as
// `?messages.js`, which is the same address with and without a slash at the end of the page's.
(function (languages) {
  'use strict';
  const FALLBACK = 'en';
  const ATTRIBUTES = ['alt', 'aria-label', 'content'];
  const root = document.documentElement;
  const locale = navigator.languages.map(canonical).find((tag) => languageOf(tag) in languages) ?? FALLBACK;
  const messages = languages[languageOf(locale)];
  const numbers = new Intl.NumberFormat(locale);
  const plurals = new Intl.PluralRules(locale);

  // Some systems give their browsers invalid locales, such as `en-US@posix`.
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

  // A message with its values put in. If it has several forms, the number `count` selects one.
  function message(key, values = {}) {
    const found = messages[key];
    const text = typeof found === 'string' ? found : (found[plurals.select(values.count)] ?? found.other);
    return text.replace(/\{(\w+)\}/g, function (_, name) {
      return typeof values[name] === 'number' ? number(values[name]) : values[name];
    });
  }

  // May be called again: text that is right already is not changed.
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

  // The page's files have relative addresses, so below a path the page's own address must end with a slash.
  if (!location.pathname.endsWith('/')) {
    history.replaceState(history.state, '', `${location.pathname}/${location.search}${location.hash}`);
  }

  root.lang = messages.lang;
  // Elements that need scripts are shown from here on. If one of the page's scripts does not load, the page says so
  // instead.
  root.dataset.scripted = '';
  addEventListener('error', ({ target }) => target instanceof HTMLScriptElement && delete root.dataset.scripted, true);

  // Callbacks of an observer run before the next paint, so elements that the parser adds are never visible
  // untranslated.
  const observer = new MutationObserver(translate);
  observer.observe(document, { childList: true, characterData: true, subtree: true });
  document.addEventListener('readystatechange', function () {
    observer.disconnect();
    translate();
  }, { once: true });

  globalThis.messages = { locale, message, number };
})
