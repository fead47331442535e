# One process, listening on 127.0.0.1, and on a socket file, alone. Two processes are two of these that share a Redis.

bind "tcp://127.0.0.1:#{ENV.fetch("PORT")}"
bind "unix://#{ENV["SOCKET"]}" if ENV["SOCKET"]
environment "production"
threads 5, 5
workers 0
