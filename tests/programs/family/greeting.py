from .words import hello


def greet(parent, name):
    print(hello(name))
