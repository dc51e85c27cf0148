// Makes a key and a token of each algorithm with jose, and prints them as JSON: { tokens, jwks, pems, secret }.
import { SignJWT, exportJWK, exportSPKI, generateKeyPair } from 'jose';

const secret = 'a secret that is shared with nobody else, by jose';
const result = { tokens: {}, jwks: { keys: [] }, pems: {}, secret };

function token(alg, kid, key) {
  return new SignJWT({ rooms: ['/team/7', '/blog/*'], info: { name: 'Zoë' } })
    .setProtectedHeader({ alg, kid, typ: 'JWT' })
    .setSubject('user of jose')
    .setIssuer('https://id.example/')
    .setAudience('count')
    .setIssuedAt()
    .setNotBefore('0s')
    .setExpirationTime('10m')
    .sign(key);
}

for (const alg of ['RS256', 'ES256', 'EdDSA']) {
  const { publicKey, privateKey } = await generateKeyPair(alg, { extractable: true });
  result.jwks.keys.push({ ...(await exportJWK(publicKey)), kid: `${alg}-1`, alg, use: 'sig' });
  result.pems[alg] = await exportSPKI(publicKey);
  result.tokens[alg] = await token(alg, `${alg}-1`, privateKey);
}
result.tokens.HS256 = await token('HS256', undefined, new TextEncoder().encode(secret));
console.log(JSON.stringify(result));
