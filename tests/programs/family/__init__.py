from .greeting import greet as greet
