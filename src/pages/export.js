export default function bridgeClient(settings) {
  return bridgeWebSocket({ bridge: new URL("..", import.meta.url).href, ...settings })
}
