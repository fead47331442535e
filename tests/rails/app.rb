# A small Rails application with ActionCable, for the tests against a real server.
#
# It runs unchanged on Rails 6.1 and 7.2 and is configured by its environment:
#   CABLE_ADAPTER   async (default) or redis; REDIS_URL says where
#   CABLE_ORIGINS   origins allowed beside the server's own, by commas; `*` allows all
#   CABLE_LOG       the log level on stderr (default warn: lower ones print query strings)

require "rails"
require "action_controller/railtie"
require "action_cable/engine"

ORIGINS = ENV.fetch("CABLE_ORIGINS", "").split(",")

class CableTestApplication < Rails::Application
  config.load_defaults Rails::VERSION::STRING[/\A\d+\.\d+/]
  config.root = __dir__
  config.eager_load = false
  config.secret_key_base = "for tests only " * 4
  config.logger = ActiveSupport::Logger.new($stderr)
  config.log_level = ENV.fetch("CABLE_LOG", "warn").to_sym

  # String keys: with symbols ActionCable takes any adapter for redis on its usual port.
  config.action_cable.cable = {
    "adapter" => ENV.fetch("CABLE_ADAPTER", "async"),
    "url" => ENV.fetch("REDIS_URL", nil)
  }.compact
  config.action_cable.mount_path = "/cable"
  config.action_cable.allowed_request_origins = ORIGINS
  config.action_cable.disable_request_forgery_protection = ORIGINS == ["*"]
end

module ApplicationCable
  # Who may connect is decided by the cookie `user`; a client that keeps no cookies has the parameter `user` of the URL.
  class Connection < ActionCable::Connection::Base
    identified_by :current_user

    def connect
      user = cookies[:user] || request.params[:user]
      # Any other error than a rejection leaves the socket open, without a welcome and without pings.
      raise "a bug in connect" if user == "broken"
      reject_unauthorized_connection if user.blank? || user == "banned"
      self.current_user = user
    end
  end

  class Channel < ActionCable::Channel::Base
  end
end

class ChatChannel < ApplicationCable::Channel
  BURST_MAX = 10_000
  PAUSE_MAX = 1000 # milliseconds

  def subscribed
    return reject if params[:room] == "rejected"

    stream_from room
    # Arrives before the confirmation, which waits for the stream.
    transmit({ "greeting" => "hello #{current_user}" })
  end

  # To everybody in the room, through the adapter.
  def speak(data)
    ActionCable.server.broadcast(room, { "from" => current_user, "text" => data["text"] })
  end

  # Numbered messages to this subscriber alone. Only `transmit` keeps their order: broadcasts
  # are handed to a pool of threads and overtake each other.
  def burst(data)
    data["count"].to_i.clamp(0, BURST_MAX).times { |number| transmit({ "number" => number + 1 }) }
  end

  # The same over a while, so that a test can break the network in their midst. A thread of its
  # own: an action that sleeps holds up everybody's.
  def trickle(data)
    pause = data["every"].to_i.clamp(1, PAUSE_MAX) / 1000.0
    count = data["count"].to_i.clamp(0, BURST_MAX)
    Thread.new do
      count.times do |number|
        transmit({ "number" => number + 1 })
        sleep pause
      end
    end
  end

  private

  def room
    "chat:#{params[:room]}"
  end
end

# What turbo-rails serves to `<turbo-cable-stream-source>`, and a greeting. The key is one that the tests know.
module Turbo
  class StreamsChannel < ApplicationCable::Channel
    def subscribed
      name = Turbo.signed_stream_verifier.verified(params[:signed_stream_name])
      return reject unless name

      stream_from "turbo:#{name}"
      transmit(Turbo.append("hello"))
    end
  end

  def self.signed_stream_verifier
    @signed_stream_verifier ||= ActiveSupport::MessageVerifier.new("for tests only", digest: "SHA256", serializer: JSON)
  end

  def self.append(text)
    %(<turbo-stream action="append" target="messages"><template><li>#{text}</li></template></turbo-stream>)
  end
end

# What graphql-ruby's documentation has applications write, without a schema: each subscription has
# one field with one text.
class GraphqlChannel < ApplicationCable::Channel
  def execute(data)
    field = data["query"][/\{\s*(\w+)/, 1]
    stream_from "graphql:#{field}"
    transmit(GraphqlChannel.answer(field, "hello"))
  end

  def self.answer(field, text)
    { "result" => { "data" => { field => { "__typename" => "Text", "text" => text } } }, "more" => true }
  end
end

# What a test asks of the server from outside.
class ControlController < ActionController::API
  def up
    render plain: "#{Rails.version}\n"
  end

  # In headers, which any client can read.
  def counts
    connections = ActionCable.server.connections
    headers["Connections-Open"] = connections.size.to_s
    headers["Subscriptions-Open"] = connections.sum { |one| one.subscriptions.identifiers.size }.to_s
    head :no_content
  end

  def broadcast
    ActionCable.server.broadcast("chat:#{params.require(:room)}", { "from" => "server", "text" => params[:text] })
    head :no_content
  end

  def turbo
    ActionCable.server.broadcast("turbo:#{params.require(:stream)}", Turbo.append(params[:text]))
    head :no_content
  end

  def graphql
    field = params.require(:field)
    ActionCable.server.broadcast("graphql:#{field}", GraphqlChannel.answer(field, params[:text]))
    head :no_content
  end

  def disconnect
    ActionCable.server.remote_connections.where(current_user: params.require(:user)).disconnect
    head :no_content
  end

  def restart
    ActionCable.server.restart
    head :no_content
  end
end

Rails.application.initialize!

Rails.application.routes.draw do
  get "up", to: "control#up"
  get "counts", to: "control#counts"
  post "broadcast", to: "control#broadcast"
  post "turbo", to: "control#turbo"
  post "graphql", to: "control#graphql"
  post "disconnect", to: "control#disconnect"
  post "restart", to: "control#restart"
end
